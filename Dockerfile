# One image for every process of the Procfile; the command decides which. `--target demo` adds the demo's stand-in,
# `--target conformance` the command that tries an external service.
ARG PYTHON=3.14.8-slim-trixie
FROM python:${PYTHON} AS dependencies
# [otel] for traces.
ARG EXTRAS=
WORKDIR /src
COPY locks ./locks
# What is not the file that was locked is not installed. A layer of its own, which our own changes leave alone.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r "locks/$([ -z "$EXTRAS" ] && echo production || echo otel).txt"

FROM dependencies AS build
COPY pyproject.toml README.md ./
COPY app ./app
COPY tasks ./tasks
# The project's own files have no hash.
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --target /own .

FROM python:${PYTHON} AS production
# The server that runs this container must not need root to do it.
RUN useradd --system --create-home --uid 10001 rita
WORKDIR /srv
COPY --from=dependencies /venv /venv
COPY --from=build /own ./
COPY gunicorn.conf.py Procfile ./
COPY migrations ./migrations
ENV PATH=/venv/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER rita
EXPOSE 8000
CMD ["/bin/sh", "-c", "exec gunicorn --config gunicorn.conf.py 'app:create_web()'"]

# Never in production: it takes any credential and makes up what it answers.
FROM production AS demo
USER root
COPY locks/demo.txt ./
RUN pip install --no-cache-dir --require-hashes -r demo.txt
COPY devstack ./devstack
USER rita
CMD ["python", "-m", "devstack.demo"]

# Tries somebody's external service: docs/integration.md, section 4.
FROM demo AS conformance
ENTRYPOINT ["python", "-m", "devstack.conformance"]
CMD ["--help"]

# What is built where no target is named.
FROM production
