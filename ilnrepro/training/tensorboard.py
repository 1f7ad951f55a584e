"""A run's curves for TensorBoard, written as it goes; TensorBoard itself is needed only to look at them."""

from pathlib import Path

from ilnrepro import tf
from ilnrepro.console import one_line
from ilnrepro.errors import InputError

QUEUE = 100_000  # scalars that may wait for the flush at the end of a block: more than a block has


class Curves:
    """Event files of one run: scalars by the number of steps taken, the same float32 numbers as in the run file.

    `loss` (the protocol's, of the batch) and `learning_rate` at every step; before training and after every block
    `gate/LAYER`, the first normalization's share, and `rho/LAYER`, the gate's trainable parameter (`rho/LAYER/1`, ...
    where it has several: of a ρ a channel, its quantiles).

    Args:
      folder: of this run alone. A run that goes on from a checkpoint writes its curves from the start, so older event
        files in it are removed.
    """

    def __init__(self, folder):
        self.folder, self.writer, self.steps, self.records = Path(folder), None, 0, 0

    def __call__(self, history):
        """Writes what a `training.History` has gained since the last call.

        Raises:
          InputError: the folder cannot be written.
        """
        try:
            if self.writer is None:
                self.writer = self._open()
            with self.writer.as_default():
                self._write(history)
            self.writer.flush()
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            raise InputError(f"{self.folder}: cannot be written ({reason}); free space, give --tensorboard another "
                             "folder, or leave it out: a run under way goes on from its last checkpoint") from error

    def _open(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        return tf.summary.create_file_writer(str(self.folder), QUEUE)

    def _write(self, history):
        for step in range(self.steps, len(history.loss)):
            _scalars(step + 1, {"loss": history.loss[step], "learning_rate": history.rate[step]})
        self.steps = len(history.loss)
        for record in range(self.records, len(history.gate_step) if history.layers else 0):
            values = {}
            for layer, gate, rho in zip(history.layers, history.share[record], history.rho[record], strict=True):
                values[f"gate/{layer}"] = gate
                values |= {f"rho/{layer}" + f"/{i}" * (len(rho) > 1): number for i, number in enumerate(rho, 1)}
            _scalars(history.gate_step[record], values)
            self.records = record + 1


def _scalars(step, values):
    summary = tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(tag=tag, simple_value=value)
                                          for tag, value in values.items()])
    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=int(step))
