# docker build -t efficientnet . && docker run --rm -v "$PWD:/images" efficientnet predict /images/x.jpg
FROM python:3.11-slim
COPY . /opt/efficientnet
RUN pip install --no-cache-dir '/opt/efficientnet[demo,serve]' && rm -r /opt/efficientnet && useradd --create-home user
USER user
WORKDIR /images
ENTRYPOINT ["efficientnet"]
CMD ["--help"]
