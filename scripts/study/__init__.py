"""Tasks and methods of scripts/finetune_study.py."""
