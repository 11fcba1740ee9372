"""Writes TFDS data sets in ArrayRecord files from what people have: tars, TFRecords, folders.

No TensorFlow is needed. A preparation that was stopped, in whatever way, goes on where it was when
it is started again, and gives the same files as one that was not; so does any number of workers.
"""

from wae_jax.data.prepare.folder import prepare_folder
from wae_jax.data.prepare.imagenet import prepare_imagenet2012
from wae_jax.data.prepare.tfrecord import convert_tfrecord

__all__ = ["convert_tfrecord", "prepare_folder", "prepare_imagenet2012"]
