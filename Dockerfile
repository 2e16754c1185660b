# One image for every command: `animusic serve gateway`, `animusic topics`, `animusic models build` …
# Encoding texts needs torch, several GB: `docker build --build-arg REQUIREMENTS=neural` makes the image of such jobs.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# The pins change seldom, the code often: this layer is made anew only with them.
ARG REQUIREMENTS=run
COPY requirements/run.txt requirements/neural.txt requirements/
RUN pip install --require-hashes -r requirements/${REQUIREMENTS}.txt

COPY pyproject.toml README.md LICENSE ./
COPY contracts contracts
COPY services services
COPY collectors collectors
COPY model_jobs model_jobs
RUN pip install --no-deps --no-build-isolation -e . \
    && useradd --system --create-home --uid 10001 animusic \
    && install -d -o animusic -g animusic /data

USER animusic
ENV ANIMUSIC_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["animusic"]
CMD ["--help"]
