#!/usr/bin/env bash
# Trains in several processes on this machine, as a try of what is to run on many:
#
#   launch/local.sh 2 --config=configs/quickstart.py --workdir=runs/two
#
# The first argument is the number of processes, the rest is for train.py. SIGINT and SIGTERM go to
# all of them: they save and end. The exit status is that of the first one that did not succeed.
set -uo pipefail
count=${1:?usage: launch/local.sh PROCESSES --config=... --workdir=...}
shift
python=${PYTHON:-python}
free='import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
port=$("$python" -c "$free")

pids=()
for ((process = 0; process < count; process++)); do
  # What process 0 prints counts; the others say the same.
  if ((process > 0)); then exec > /dev/null; fi
  "$python" train.py "$@" --config.parallel.coordinator="localhost:$port" \
    --config.parallel.num_processes="$count" --config.parallel.process_id="$process" &
  pids+=($!)
done
trap 'kill -TERM "${pids[@]}" 2> /dev/null' INT TERM

status=0
for pid in "${pids[@]}"; do
  wait "$pid"
  ended=$?
  while kill -0 "$pid" 2> /dev/null; do # a signal came: the process is saving
    wait "$pid"
    ended=$?
  done
  if ((status == 0)); then status=$ended; fi
done
exit "$status"
