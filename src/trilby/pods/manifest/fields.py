"""Fields that the Kubernetes API knows and the embedded engine does not honour.

They are reported by name, never dropped in silence: a scheduler's or an API server's field is
only ignored (``INERT``: nothing on one node could come of it), all others are a warning.
"""

from __future__ import annotations

from trilby.pods.manifest import schema

# Written by the API server or meant for the scheduler: harmless on a node of one's own.
INERT: frozenset[str] = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "status",
        "enableServiceLinks",
        "nodeName",
        "preemptionPolicy",
        "priority",
        "schedulerName",
    }
)

_PROBE = frozenset({"grpc"})
_VOLUME_SOURCES = frozenset(
    """awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI ephemeral
    fc flexVolume flocker gcePersistentDisk gitRepo glusterfs iscsi nfs persistentVolumeClaim
    photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos
    vsphereVolume""".split()
)

NOT_HONOURED: dict[type, frozenset[str]] = {
    schema.Pod: frozenset({"status"}),
    schema.ObjectMeta: INERT,
    schema.PodSpec: INERT
    | frozenset(
        """affinity automountServiceAccountToken ephemeralContainers hostnameOverride
        imagePullSecrets nodeSelector os overhead priorityClassName readinessGates resourceClaims
        resources schedulingGates schedulingGroup serviceAccount serviceAccountName
        setHostnameAsFQDN subdomain tolerations topologySpreadConstraints workloadRef""".split()
    ),
    schema.Container: frozenset(
        "envFrom resizePolicy restartPolicyRules terminationMessagePolicy volumeDevices".split()
    ),
    schema.EnvVarSource: frozenset({"configMapKeyRef", "secretKeyRef", "fileKeyRef"}),
    schema.Probe: _PROBE,
    schema.ResourceRequirements: frozenset({"claims"}),
    schema.SecurityContext: frozenset({"windowsOptions"}),
    schema.PodSecurityContext: frozenset(
        {"fsGroupChangePolicy", "seLinuxChangePolicy", "windowsOptions"}
    ),
    schema.Volume: _VOLUME_SOURCES,
}

# Without these a container could not run as written, so they are errors, not warnings.
ESSENTIAL: dict[type, frozenset[str]] = {
    schema.EnvVarSource: frozenset({"configMapKeyRef", "secretKeyRef", "fileKeyRef"}),
    schema.Volume: _VOLUME_SOURCES,
    schema.Container: frozenset({"envFrom", "volumeDevices"}),
    schema.Probe: _PROBE,
}
