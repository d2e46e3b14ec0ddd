#!/usr/bin/env bash
# Succeeds if the server in this container is ready. Uses only bash, because the image has no HTTP client.
set -euo pipefail

# The port as `assay serve` finds it: from the command line of the first process, the environment, or the options file.
port='' config=''
command_line=${1:-/proc/1/cmdline}
if [[ -r $command_line ]]; then
    mapfile -d '' -t words <"$command_line"
    for ((index = 0; index < ${#words[@]}; index++)); do
        case ${words[index]} in
        --port) port=${words[index + 1]-} ;;
        --port=*) port=${words[index]#*=} ;;
        --config) config=${words[index + 1]-} ;;
        --config=*) config=${words[index]#*=} ;;
        esac
    done
fi
port=${port:-${ASSAY_PORT:-${NIM_SERVER_PORT-}}}
config=${config:-${ASSAY_CONFIG-}}
if [[ -z $port && -r $config ]]; then
    while IFS=': ' read -r name value _; do
        # A value may have quotes around it.
        [[ $name == port ]] && port=${value//[\"\']/}
    done <"$config"
fi

exec 3<>"/dev/tcp/127.0.0.1/${port:-8000}"
printf 'GET /v1/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 3 _ status _ <&3
[[ $status == 200 ]]
