#!/usr/bin/env bash
# A small sweep on a SLURM of this one machine, through dask-jobqueue. As root, with Debian's packages:
#     apt-get install slurm-wlm munge && PYTHON=.venv/bin/python tests/cluster/slurm.sh
# Where SLURM cannot start it says why, and checks the job script that would have been submitted.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
place=$(mktemp -d)
export PYTHONPATH="$root:$root/tests${PYTHONPATH:+:$PYTHONPATH}"

cat > "$place/make.py" <<'PY'
import sys
from pathlib import Path
from sweep.conftest import SWEEP, save_data, save_run
folder = Path(sys.argv[1])
for seed in range(3):
    save_run(folder, 4, seed)
save_data(folder)
(folder / "sweep.toml").write_text(SWEEP + """
[cluster]
workers = 1
[cluster.settings]
cores = 1
memory = "1GB"
walltime = "00:10:00"
queue = "all"
""")
PY
"$python" "$place/make.py" "$place" || exit 1

check_script() {
    echo "SLURM cannot start here: $1"
    cd "$place" && "$python" - <<'PY'
from lmc.sweep import check_cluster, make_cluster, read_sweep
if __name__ == "__main__":
    cluster = make_cluster(check_cluster(read_sweep("sweep.toml").cluster, "slurm"), scale=False)
    script = cluster.job_script()
    print(script)
    for word in ("#SBATCH -p all", "#SBATCH -n 1", "#SBATCH --cpus-per-task=1", "#SBATCH -t 00:10:00", "--nthreads 1"):
        assert word in script, f"{word} is not in the job script"
    cluster.close()
    print("the job script is as it should be")
PY
    exit $?
}

for program in munged slurmctld slurmd; do
    command -v "$program" >/dev/null || check_script "there is no $program (apt-get install slurm-wlm munge)"
done
[ "$(id -u)" = 0 ] || check_script "it takes root"
host=$(hostname -s)
mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd /run/munge
chown -R munge: /run/munge /etc/munge /var/lib/munge /var/log/munge 2>/dev/null
[ -f /etc/munge/munge.key ] || { dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key 2>/dev/null; chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
pgrep -x munged >/dev/null || su -s /bin/sh munge -c munged || check_script "munged does not start"
[ -f /etc/slurm/slurm.conf ] || cat > /etc/slurm/slurm.conf <<CONF
ClusterName=one
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
NodeName=$host CPUs=$(nproc --all) RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld > "$place/slurmctld.log" 2>&1 || check_script "slurmctld: $(tail -1 "$place/slurmctld.log")"
slurmd > "$place/slurmd.log" 2>&1 || check_script "slurmd: $(tail -1 "$place/slurmd.log")"
sleep 5
sinfo -h | grep -Eq 'idle|mix|alloc' || check_script "no node is up: $(sinfo -h 2>&1 | head -1)"
cd "$place" && timeout 600 "$python" -m lmc sweep sweep.toml -o results --cluster slurm \
    && "$python" -m lmc collect results -o sweep.nc
code=$?
[ $code = 0 ] || { squeue; tail -20 "$place"/*.log; }
exit $code
