"""Hand the results of hosts to the driver."""

import sys

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Writes events as ansible-runner has them."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "imageprep_results"

    def v2_runner_on_ok(self, result):
        """The command ended with status 0."""
        _emit("runner_on_ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """The command failed, or could not be run."""
        _emit("runner_on_failed", result)

    def v2_runner_on_unreachable(self, result):
        """The host cannot be reached."""
        _emit("runner_on_unreachable", result)


def _emit(event, result):
    kept = ("stdout", "stderr", "msg", "reason", "censored", "rc")
    shown = {key: result._result[key] for key in kept if key in result._result}
    shown["timedout"] = bool(result._result.get("timedout"))
    sys.modules["__main__"].emit(
        event,
        host=result._host.get_name(),
        task=result._task.get_name(),
        res=shown,
    )
