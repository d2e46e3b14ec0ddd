#!/usr/bin/env bash
# Succeeds if the server in this container is ready. Uses only bash, because the image has no HTTP client.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${ASSAY_PORT:-${NIM_SERVER_PORT:-8000}}"
printf 'GET /v1/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 3 _ status _ <&3
[[ $status == 200 ]]
