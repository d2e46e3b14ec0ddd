{{- define "assay.name" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}{{- else if contains "assay" .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{- else -}}{{ printf "%s-assay" .Release.Name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "assay.selector" -}}
app.kubernetes.io/name: assay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "assay.labels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Refuses values that cannot work, before anything is installed. */ -}}
{{- define "assay.check" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is not set: build the image, push it, and name it here" -}}
{{- end -}}
{{- range $name, $_ := .Values.config -}}
{{- if contains "-" $name -}}
{{- fail (printf "config.%s: the chart knows options by their names in the options file; write %s" $name (replace "-" "_" $name)) -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.config "port" -}}
{{- fail "config.port is set: servers listen on 8000 in their pods; set service.port to the port of the service" -}}
{{- end -}}
{{- if hasKey .Values.config "tls_client_ca" -}}
{{- fail "config.tls_client_ca is set: the kubelet has no certificate for its probes; use apiKeysSecret, or let a proxy check certificates" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.config.protect_metrics -}}
{{- fail "config.protect_metrics and serviceMonitor are both set: the monitor has no API key; use config.metrics_port and networkPolicy instead" -}}
{{- end -}}
{{- if and .Values.build.enabled (not (and .Values.build.checkpoint .Values.build.output)) -}}
{{- fail "build.enabled is set: name build.checkpoint and build.output, directories of the volume of engines" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled is set: name at least one of ingress.hosts" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled is set: name the gateway in gateway.parentRefs" -}}
{{- end -}}
{{- if and .Values.gateway.enabled .Values.tlsSecret -}}
{{- fail "gateway.enabled and tlsSecret are both set: the gateway speaks plain HTTP to the servers; leave tlsSecret empty, and give the certificate to the gateway" -}}
{{- end -}}
{{- if not (or .Values.engines.existingClaim .Values.engines.hostPath) -}}
{{- fail "there are no engines: set engines.existingClaim to a PersistentVolumeClaim, or engines.hostPath to a directory on the nodes" -}}
{{- end -}}
{{- if and .Values.engines.existingClaim .Values.engines.hostPath -}}
{{- fail "engines.existingClaim and engines.hostPath are both set: leave one empty" -}}
{{- end -}}
{{- if and (gt (int .Values.nodes) 1) (lt (int .Values.gpus) 1) -}}
{{- fail "nodes is more than 1 but gpus is 0: only GPU engines can span nodes; set gpus" -}}
{{- end -}}
{{- if and (gt (int .Values.nodes) 1) (not .Values.sshSecret) -}}
{{- fail "nodes is more than 1: set sshSecret to the keys with which the first node starts the other ranks" -}}
{{- end -}}
{{- if and (gt (int .Values.nodes) 1) .Values.autoscaling.enabled -}}
{{- fail "autoscaling works only with nodes 1: set replicas instead" -}}
{{- end -}}
{{- end -}}

{{- /* The user of the image must be able to write the cache and to read the keys: hence the group. */ -}}
{{- define "assay.podSecurity" -}}
{{- $own := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.podSecurityContext)) -}}
{{- end -}}

{{- define "assay.containerSecurity" -}}
{{- $own := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.containerSecurityContext)) -}}
{{- end -}}

{{- /* The pod of a Deployment or of one node of a LeaderWorkerSet. Takes `dict "root" $ "worker" false`. */ -}}
{{- define "assay.pod" -}}
{{- $values := .root.Values -}}
{{- $scheme := ternary "HTTPS" "HTTP" (ne $values.tlsSecret "") -}}
metadata:
  labels:
    {{- include "assay.labels" .root | nindent 4 }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    checksum/config: {{ include (print .root.Template.BasePath "/configmap.yaml") .root | sha256sum }}
    {{- with $values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  terminationGracePeriodSeconds: {{ add $values.shutdownGraceSeconds 10 }}
  automountServiceAccountToken: false
  {{- with $values.serviceAccountName }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext: {{- include "assay.podSecurity" .root | nindent 4 }}
  {{- with $values.initContainers }}
  initContainers: {{ toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: assay
      image: "{{ $values.image.repository }}:{{ $values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      securityContext: {{- include "assay.containerSecurity" .root | nindent 8 }}
      env:
        - {name: ASSAY_CONFIG, value: /etc/assay/assay.yaml}
        - {name: ASSAY_CACHE, value: /cache}
        {{- if gt (int $values.nodes) 1 }}
        - {name: ASSAY_GPUS_PER_NODE, value: {{ $values.gpus | quote }}}
        {{- end }}
        {{- with $values.env }}{{ toYaml . | nindent 8 }}{{ end }}
      ports:
        - {name: http, containerPort: 8000}
        {{- with $values.config.metrics_port }}
        - {name: metrics, containerPort: {{ . }}}
        {{- end }}
      {{- if not .worker }}
      startupProbe:
        httpGet: {path: /v1/health/ready, port: http, scheme: {{ $scheme }}}
        periodSeconds: 5
        failureThreshold: {{ div (add $values.startupSeconds 4) 5 }}
      readinessProbe:
        httpGet: {path: /v1/health/ready, port: http, scheme: {{ $scheme }}}
        periodSeconds: 5
      livenessProbe:
        httpGet: {path: /v1/health/live, port: http, scheme: {{ $scheme }}}
        periodSeconds: 10
        failureThreshold: 6
      {{- end }}
      resources:
        {{- $gpus := int $values.gpus }}
        {{- $limits := $values.resources.limits | default dict }}
        {{- if $gpus }}{{ $limits = merge (dict "nvidia.com/gpu" $gpus) $limits }}{{ end }}
        {{- with $limits }}
        limits: {{ toYaml . | nindent 10 }}
        {{- end }}
        {{- with $values.resources.requests }}
        requests: {{ toYaml . | nindent 10 }}
        {{- end }}
      volumeMounts:
        - {name: engines, mountPath: /engines, readOnly: true}
        - {name: config, mountPath: /etc/assay, readOnly: true}
        - {name: cache, mountPath: /cache}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
        {{- if $values.apiKeysSecret }}
        - {name: keys, mountPath: /etc/assay-keys, readOnly: true}
        {{- end }}
        {{- if $values.signingKeySecret }}
        - {name: signing, mountPath: /etc/assay-signing, readOnly: true}
        {{- end }}
        {{- if gt (int $values.nodes) 1 }}
        - {name: ssh, mountPath: /etc/assay-ssh, readOnly: true}
        {{- end }}
        {{- if $values.tlsSecret }}
        - {name: tls, mountPath: /etc/assay-tls, readOnly: true}
        {{- end }}
        {{- with $values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
    {{- with $values.sidecars }}{{ toYaml . | nindent 4 }}{{ end }}
  volumes:
    - name: engines
      {{- if $values.engines.existingClaim }}
      persistentVolumeClaim: {claimName: {{ $values.engines.existingClaim }}, readOnly: true}
      {{- else }}
      hostPath: {path: {{ $values.engines.hostPath }}, type: Directory}
      {{- end }}
    - name: config
      configMap: {name: {{ include "assay.name" .root }}}
    - name: cache
      {{- if $values.cache.existingClaim }}
      persistentVolumeClaim: {claimName: {{ $values.cache.existingClaim }}}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: tmp
      emptyDir: {}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $values.sharedMemory }}}
    {{- if $values.apiKeysSecret }}
    - name: keys
      secret: {secretName: {{ $values.apiKeysSecret }}, items: [{key: keys, path: keys}]}
    {{- end }}
    {{- if $values.signingKeySecret }}
    - name: signing
      secret: {secretName: {{ $values.signingKeySecret }}, items: [{key: signing.pem, path: signing.pem}], defaultMode: 0440}
    {{- end }}
    {{- if gt (int $values.nodes) 1 }}
    - name: ssh
      secret: {secretName: {{ $values.sshSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if $values.tlsSecret }}
    - name: tls
      secret: {secretName: {{ $values.tlsSecret }}}
    {{- end }}
    {{- with $values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
