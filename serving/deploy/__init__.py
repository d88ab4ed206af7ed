"""What others run beside a server, or instead of this machine: rules and dashboards as files, manifests as code.

`alerts.yaml`, `dashboard.json`, `prometheus.yaml` and `nginx.conf` are used as they are. Manifests for Kubernetes,
KServe and Compose are made of a file of choices (`choices`) and of what is known already (`facts`): versions, instances
and queues of the repository, promises, measured memory, the launcher's options, the guard's ports.
"""
