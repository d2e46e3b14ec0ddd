#!/usr/bin/env bash
# Checks the Helm chart and the systemd unit. Needs `helm`; uses `systemd-analyze` and `kubeconform` where they are
# installed.
set -euo pipefail
cd "$(dirname "$0")"
chart=helm/assay

if ! command -v helm >/dev/null; then
    echo 'helm is not installed: install it (https://helm.sh), then run this command again.' >&2
    exit 1
fi

conforms() { # checks manifests against the published schemas, if the tool is installed
    if command -v kubeconform >/dev/null; then
        kubeconform -strict -ignore-missing-schemas -summary
    else
        cat >/dev/null
    fi
}

accepted=(
    'engines.existingClaim=engines'
    'engines.hostPath=/engines,gpus=1,servedModelName={a,b},config.max_seq_len=4096'
    'engines.existingClaim=engines,apiKeysSecret=keys,signingKeySecret=signing,tlsSecret=tls,serviceMonitor.enabled=true'
    'engines.existingClaim=engines,autoscaling.enabled=true'
    'engines.existingClaim=engines,gpus=8,nodes=2,sshSecret=ssh'
    'engines.existingClaim=engines,prometheusRule.enabled=true,dashboard.enabled=true,networkPolicy.enabled=true'
    'engines.existingClaim=engines,build.enabled=true,build.checkpoint=a,build.output=b,ingress.enabled=true,ingress.hosts={a}'
    'engines.existingClaim=engines,gateway.enabled=true,gateway.parentRefs[0].name=eg'
)
refused=(
    'replicas=1'
    'engines.existingClaim=a,engines.hostPath=/b'
    'engines.existingClaim=a,nodes=2,sshSecret=ssh'
    'engines.existingClaim=a,nodes=2,gpus=8'
    'engines.existingClaim=a,nodes=2,gpus=8,sshSecret=ssh,autoscaling.enabled=true'
    'engines.existingClaim=a,replica=2'
    'engines.existingClaim=a,config.port=9'
    'engines.existingClaim=a,gateway.enabled=true'
)
image=image.repository=registry.example.org/assay
for values in "${accepted[@]}"; do
    helm lint --quiet --strict "$chart" --set "$image,$values"
    helm template check "$chart" --set "$image,$values" | conforms
done
for values in "${refused[@]}"; do
    if helm template check "$chart" --set "$image,$values" >/dev/null 2>&1; then
        echo "these values are accepted and should be refused: $values" >&2
        exit 1
    fi
done
if command -v systemd-analyze >/dev/null; then
    # A missing binary is the only complaint that is allowed.
    systemd-analyze verify assay.service 2>&1 | grep -v -e 'assay is not executable' -e '^$' && exit 1
fi
echo "${#accepted[@]} sets of values accepted, ${#refused[@]} refused"
