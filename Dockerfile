# One image for every service: worker (the default), flower, gateway, migrate and sandbox differ only in their command.
#
#   docker build --tag aquilax-feedback .
#   docker run --rm aquilax-feedback aquilax-feedback --help

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# The dependencies change seldom, and so have their own layer. Nothing is installed that does not have the lock's hash.
COPY requirements/worker.txt requirements/build.txt requirements/
RUN python -m venv --without-pip /opt/feedback \
    && pip --python /opt/feedback install --no-deps --require-hashes --requirement requirements/worker.txt \
    && pip install --no-deps --require-hashes --requirement requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY migrations/ migrations/
COPY producer/ producer/
COPY worker/ worker/
RUN pip wheel --no-build-isolation --no-deps --no-index --wheel-dir dist . \
    && pip --python /opt/feedback install --no-deps --no-index dist/*.whl \
    && pip --python /opt/feedback check


FROM python:3.13-slim
LABEL org.opencontainers.image.title="aquilax-feedback" \
      org.opencontainers.image.description="Delivers chat feedback to AquilaX" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number, so that an orchestrator can see that it is not root; above those that Debian gives out.
RUN groupadd --gid 10001 feedback \
    && useradd --uid 10001 --gid feedback --no-log-init --no-create-home --shell /usr/sbin/nologin feedback \
    && install --directory --owner feedback --group feedback /var/lib/feedback
COPY --from=build /opt/feedback /opt/feedback
ENV PATH=/opt/feedback/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# Without another FEEDBACK_DATABASE_URL the SQLite file of the dead letters is made here: mount a volume.
WORKDIR /var/lib/feedback

# SIGTERM is Celery's warm shutdown: finish what is being sent, give the rest back to the queue. The exec form below
# lets it reach Celery itself. How long that may take is the service's `stop_grace_period`.
STOPSIGNAL SIGTERM
# The worker's: other services have their own in docker-compose.yml. Run by hand, they need `--no-healthcheck`.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["aquilax-feedback", "health"]
CMD ["aquilax-feedback", "worker", "--loglevel=INFO", "-n", "worker@%h"]
