"""What ``scripts/predict_many.py`` and ``scripts/embed_many.py`` share."""
