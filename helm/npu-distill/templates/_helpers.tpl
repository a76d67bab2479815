{{- define "npu-distill.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/* Name of everything in the release, with room for what is added: the release's own if it names the chart already. */}}
{{- define "npu-distill.fullname" -}}
{{- $name := include "npu-distill.name" . -}}
{{- $own := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $own | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "npu-distill.selectorLabels" -}}
app.kubernetes.io/name: {{ include "npu-distill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "npu-distill.labels" -}}
{{ include "npu-distill.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "npu-distill.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "npu-distill.fullname" .) -}}
{{- end -}}

{{/* image reference: (list <image values> <root>). A digest is what counts where there is one. */}}
{{- define "npu-distill.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- $version := ternary (printf "@%s" $image.digest) (printf ":%s" ($image.tag | default $root.Chart.AppVersion)) (not (empty $image.digest)) -}}
{{- include "npu-distill.fromRegistry" (list (printf "%s%s" $image.repository $version) $root) -}}
{{- end -}}

{{/*
An image reference, from the registry for all images if there is one: (list <reference> <root>). What comes before the
first slash is a registry if it has a dot or a port, or is localhost, as everywhere.
*/}}
{{- define "npu-distill.fromRegistry" -}}
{{- $reference := index . 0 -}}
{{- $registry := (index . 1).Values.global.imageRegistry -}}
{{- if and $registry $reference -}}
{{- printf "%s/%s" (trimSuffix "/" $registry) (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $reference "") -}}
{{- else -}}
{{- $reference -}}
{{- end -}}
{{- end -}}

{{/* Settings with an image from that registry: (list <settings> <root>) */}}
{{- define "npu-distill.withImage" -}}
{{- $settings := index . 0 -}}
{{- if $settings.image -}}
{{- $settings = merge (dict "image" (include "npu-distill.fromRegistry" (list $settings.image (index . 1)))) $settings -}}
{{- end -}}
{{- toYaml $settings -}}
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

{{/* CEL: whether the metadata that is named are those of a child of an object of ours. */}}
{{- define "npu-distill.celOwned" -}}
has({{ . }}.labels) && 'app.kubernetes.io/managed-by' in {{ . }}.labels
&& {{ . }}.labels['app.kubernetes.io/managed-by'] == 'npu-distill' && has({{ . }}.ownerReferences)
&& {{ . }}.ownerReferences.exists_one(owner, has(owner.controller) && owner.controller
&& owner.apiVersion.startsWith('npu-distill.io/'))
{{- end -}}

{{/* CEL: a string of the regular expression that a list of patterns is, in which * is any text. */}}
{{- define "npu-distill.celPattern" -}}
{{- $parts := list -}}
{{- range . -}}
{{- $parts = append $parts (regexQuoteMeta . | replace "\\*" ".*") -}}
{{- end -}}
{{- printf "^(%s)$" (join "|" $parts) | toJson -}}
{{- end -}}

{{/* What the configuration gives some stage Pod of its node: its host paths, its network, its privileges. */}}
{{- define "npu-distill.configuredPods" -}}
{{- $hostPaths := list -}}
{{- $hostNetwork := false -}}
{{- $privileged := false -}}
{{- range $settings := concat (values .Values.stages) (values .Values.profiles) (values .Values.servers) -}}
{{- if $settings -}}
{{- range $settings.volumes -}}
{{- with .hostPath -}}
{{- $hostPaths = append $hostPaths .path -}}
{{- end -}}
{{- end -}}
{{- $hostNetwork = or $hostNetwork $settings.hostNetwork -}}
{{- $privileged = or $privileged (dig "privileged" false ($settings.containerSecurityContext | default dict)) -}}
{{- end -}}
{{- end -}}
hostPaths: {{ $hostPaths | uniq | sortAlpha | toJson }}
hostNetwork: {{ $hostNetwork | default false }}
privileged: {{ $privileged | default false }}
{{- end -}}

{{/* metadata.annotations of everything in the release. */}}
{{- define "npu-distill.annotations" -}}
{{- with .Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Labels by which NetworkPolicies find stage Pods. */}}
{{- define "npu-distill.stageLabels" -}}
app.kubernetes.io/name: npu-distill-stage
app.kubernetes.io/managed-by: npu-distill
{{- end -}}

{{/* egress rule of a NetworkPolicy: names, wherever the cluster's DNS is. */}}
{{- define "npu-distill.toDns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* What the name of an object that is in no namespace ends with: of releases that watch some namespaces there may be several. */}}
{{- define "npu-distill.ofNamespace" -}}
{{- if .Values.watchNamespaces -}}.{{ .Release.Namespace }}{{- end -}}
{{- end -}}
