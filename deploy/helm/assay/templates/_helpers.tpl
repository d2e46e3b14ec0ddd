{{- define "assay.name" -}}
{{- if contains "assay" .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{- else -}}{{ printf "%s-assay" .Release.Name | trunc 52 | trimSuffix "-" }}{{- end -}}
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
{{- end -}}

{{- /* Refuses values that cannot work, before anything is installed. */ -}}
{{- define "assay.check" -}}
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
  securityContext:
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
    {{- if gt (int $values.nodes) 1 }}
    # The user of the image must be able to read the keys.
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
  containers:
    - name: assay
      image: "{{ $values.image.repository }}:{{ $values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      env:
        - {name: ASSAY_CONFIG, value: /etc/assay/assay.yaml}
        {{- if gt (int $values.nodes) 1 }}
        - {name: ASSAY_GPUS_PER_NODE, value: {{ $values.gpus | quote }}}
        {{- end }}
        {{- with $values.env }}{{ toYaml . | nindent 8 }}{{ end }}
      ports:
        - {name: http, containerPort: 8000}
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
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
        {{- if $values.apiKeysSecret }}
        - {name: keys, mountPath: /etc/assay-keys, readOnly: true}
        {{- end }}
        {{- if gt (int $values.nodes) 1 }}
        - {name: ssh, mountPath: /etc/assay-ssh, readOnly: true}
        {{- end }}
        {{- if $values.tlsSecret }}
        - {name: tls, mountPath: /etc/assay-tls, readOnly: true}
        {{- end }}
  volumes:
    - name: engines
      {{- if $values.engines.existingClaim }}
      persistentVolumeClaim: {claimName: {{ $values.engines.existingClaim }}, readOnly: true}
      {{- else }}
      hostPath: {path: {{ $values.engines.hostPath }}, type: Directory}
      {{- end }}
    - name: config
      configMap: {name: {{ include "assay.name" .root }}}
    - name: tmp
      emptyDir: {}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $values.sharedMemory }}}
    {{- if $values.apiKeysSecret }}
    - name: keys
      secret: {secretName: {{ $values.apiKeysSecret }}, items: [{key: keys, path: keys}]}
    {{- end }}
    {{- if gt (int $values.nodes) 1 }}
    - name: ssh
      secret: {secretName: {{ $values.sshSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if $values.tlsSecret }}
    - name: tls
      secret: {secretName: {{ $values.tlsSecret }}}
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
