# One image for every node: head, workers and drivers must run the same Python, Ray and raypool.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/raypool
ENV PATH=/opt/raypool/bin:$PATH
WORKDIR /src
# Dependencies first: this layer is rebuilt only when the lock file changes.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY raypool raypool
COPY actors actors
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
ENV PATH=/opt/raypool/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PLAYWRIGHT_BROWSERS_PATH=/opt/browsers
COPY --from=build /opt/raypool /opt/raypool
# As root: Chromium's system libraries come from apt. The browser itself is readable by everyone.
RUN raypool install-browser && rm -rf /var/lib/apt/lists/*
# Chromium refuses its sandbox to root, and a page that escapes should not find root either.
RUN groupadd --gid 10001 raypool \
    && useradd --uid 10001 --gid raypool --create-home raypool
USER raypool
WORKDIR /home/raypool
CMD ["raypool", "--help"]
