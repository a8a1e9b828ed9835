#!/bin/bash
# User data of the ECS-optimized Amazon Linux 2023 AMI, for instances of the cluster `floe`.
set -eu

mkdir -p /var/lib/floe
cat >> /etc/ecs/ecs.config <<'END'
ECS_CLUSTER=floe
# At a spot interruption the agent drains the instance as well; the worker reads the notice by itself.
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_CONTAINER_STOP_TIMEOUT=120s
# The worker's task has the host's network, and still gets its role.
ECS_ENABLE_TASK_IAM_ROLE=true
ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST=true
END
