#!/bin/sh
# Three ordinary container images as jobs, whose workers are stopped, scaled away and killed under them; at the end their
# output is compared with that of undisturbed runs. All of it in containers, by compose.yaml.
#
#   compose/demo.sh [--keep]                              needs Docker with Compose, and `npm install`
#   scripts/with-setup compose compose/demo.sh            installs and starts what is missing
#
# Exit status: 0 when every job has printed what an undisturbed run prints, 1 when not, 2 for wrong usage.
exec node "$(dirname "$0")/demo/main.ts" "$@"
