# One image for every process of the Procfile; the command decides which.
FROM python:3.11-slim AS build
# [otel] for traces.
ARG EXTRAS=
WORKDIR /src
COPY pyproject.toml README.md ./
COPY locks ./locks
COPY app ./app
COPY tasks ./tasks
# What is not the file that was locked is not installed; the project's own files, which have no hash, come after it.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r "locks/$([ -z "$EXTRAS" ] && echo production || echo otel).txt" \
    && /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
# The server that runs this container must not need root to do it.
RUN useradd --system --create-home --uid 10001 rita
WORKDIR /srv
COPY --from=build /venv /venv
COPY gunicorn.conf.py Procfile ./
COPY migrations ./migrations
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER rita
EXPOSE 8000
CMD ["/bin/sh", "-c", "exec gunicorn --config gunicorn.conf.py 'app:create_app()'"]
