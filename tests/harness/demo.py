"""`make demo`: from nothing to the score of a distilled student."""

import subprocess
import sys

from tests.cluster.__main__ import speaker
from tests.cluster.errors import ClusterError
from tests.cluster.images import SHIPPED
from tests.harness import arithmetic
from tests.harness.installation import install, open_cluster
from tests.harness.kubectl import CommandError

SECONDS = 1800


def main() -> int:
    """Run the demo; say what happens on stderr and print the score on stdout."""
    say = speaker()
    try:
        kubectl = install(open_cluster(SHIPPED, say), {}, say).kubectl
        arithmetic.set_up(kubectl, say)
        say("kubectl apply -f examples/arithmetic")
        arithmetic.apply(kubectl)
        arithmetic.follow(kubectl, say, SECONDS)
    except (ClusterError, CommandError, arithmetic.StalledError, TimeoutError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(kubectl("get", "distill", "-n", arithmetic.NAMESPACE))
    status = kubectl.get("evalrun", arithmetic.NAME, arithmetic.NAMESPACE)["status"]
    sys.stdout.write(
        f"\nThe student scores {status['score']} % (95 % interval {status['interval']}) "
        f"on {status['samples']} problems that it has not seen.\n"
    )
    if "KUBECONFIG" in kubectl.environment:
        say(f"the cluster stays up: export KUBECONFIG={kubectl.environment['KUBECONFIG']}; `make cluster-down` ends it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
