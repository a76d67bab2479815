{{/* Name of everything in the release: the release's own if it names the chart already. */}}
{{- define "npu-distill.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "npu-distill.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "npu-distill.labels" -}}
{{ include "npu-distill.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "npu-distill.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "npu-distill.fullname" .) -}}
{{- end -}}

{{/* image reference: (list <image values> <root>) */}}
{{- define "npu-distill.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}

{{/* securityContext of the operator's container at Pod Security restricted; its Pod's is a value. */}}
{{- define "npu-distill.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
What the operator may do in the namespaces that it watches. It reads no Secret: a teacher's key goes from the Secret
into the stage Pod by the kubelet's hand.
*/}}
{{- define "npu-distill.rules" -}}
- apiGroups: [npu-distill.io]
  resources: [distilldatasets, finetuneruns, evalruns]
  verbs: [list, watch]
- apiGroups: [npu-distill.io]
  resources: [distilldatasets/status, finetuneruns/status, evalruns/status]
  verbs: [patch]
# Children carry blockOwnerDeletion; where the API server enforces the right to set it (OpenShift), this is that right.
- apiGroups: [npu-distill.io]
  resources: [distilldatasets/finalizers, finetuneruns/finalizers, evalruns/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, get, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Deletion is the garbage collector's.
- apiGroups: [""]
  resources: [services]
  verbs: [get, create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if .Values.queues.kueue }}
# Why a Job waits in a queue of Kueue.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
- apiGroups: [visibility.kueue.x-k8s.io]
  resources: [localqueues/pendingworkloads]
  verbs: [get]
{{- end }}
{{- if .Values.queues.native }}
- apiGroups: [scheduling.k8s.io]
  resources: [podgroups]
  verbs: [get, create]
{{- end }}
{{- end -}}
