"""The curves of a run for TensorBoard, written during training. Writing them does not need TensorBoard."""

from pathlib import Path

from ilnrepro import tf
from ilnrepro.console import one_line
from ilnrepro.errors import InputError

QUEUE = 100_000  # scalars that may wait for the flush at the end of a block, more than a block has


class Curves:
    """Writes the event files of one run: scalars by number of steps taken, the float32 numbers of the run file.

    The scalars are `loss` (of the batch) and `learning_rate` at each step, and before training and after each block
    `gate/LAYER`, the share of the first normalization, and `rho/LAYER`, the gate's trainable parameter. Where a layer
    has several numbers ρ (or quantiles of the ρ of its channels), they are `rho/LAYER/1`, `rho/LAYER/2`, ...

    Args:
      folder: for this run alone. Older event files in it are removed, because a run that is resumed from a checkpoint
        writes its curves from the start.
    """

    def __init__(self, folder):
        self.folder, self.writer, self.steps, self.records = Path(folder), None, 0, 0

    def __call__(self, history):
        """Writes the part of a `loop.History` that was added since the last call.

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
