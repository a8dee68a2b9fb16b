"""Keras models for the tests, built by callables as a person would write them. Imported only where TensorFlow is."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers


def cnn():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            layers.Input((64, 64, 3), name="image"),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, padding="same", activation="relu6"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 1, activation="swish"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def lstm():
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            layers.Input((20, 8), name="series"),
            layers.LSTM(24, return_sequences=True),
            layers.LSTM(12),
            layers.Dense(4),
        ]
    )


@keras.saving.register_keras_serializable("yard")
class Bessel(layers.Layer):
    """What ONNX has no operator for."""

    def call(self, x):
        return tf.math.special.bessel_j0(x)


@keras.saving.register_keras_serializable("yard")
class Singular(layers.Layer):
    """Nor for this."""

    def call(self, x):
        return tf.linalg.svd(x[..., 0], compute_uv=False)


def unsupported():
    return keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(3, 3, padding="same", name="stem"),
            Bessel(name="odd"),
            Singular(name="strange"),
        ]
    )


@tf.function(input_signature=[tf.TensorSpec((1, 8, 8), tf.float32, name="matrix")])
def singular(matrix):
    return tf.linalg.svd(tf.nn.relu(matrix), compute_uv=False)


def function():
    @tf.function(input_signature=[tf.TensorSpec((None, 8), tf.float32, name="row")])
    def answer(row):
        return {"twice": row * 2, "sum": tf.reduce_sum(row, axis=1)}

    return answer


@tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="row")])
def halved(row):
    while tf.reduce_max(row) > 0.5:
        row = row / 2
    return row


def looping():
    return halved


def open_sides():
    return keras.Sequential([layers.Input((None, None, 3)), layers.Conv2D(4, 3)])


def raising():
    raise KeyError("no such backbone")
