"""The bins of every histogram: four to an octave on either side of zero, so that any scale of activations fits.

Counts over fixed bins add up exactly, whoever counted them.  The bounds are those of a float32's exponent and its
first two bits: 1, 1.25, 1.5 and 1.75 times a power of two.
"""

import numpy as np
import torch
from torch import Tensor

LEAST, MOST = -10, 14
"Powers of two: what is smaller is counted as zero, what is larger in the last bin."
_SIDE = 4 * (MOST - LEAST)
COUNT = 2 * _SIDE + 1
_MANTISSA_BITS, _BIAS = 23, 127
_OFFSET = 4 * (_BIAS + LEAST)

_MAGNITUDES = np.array([2.0**octave * part for octave in range(LEAST, MOST) for part in (1, 1.25, 1.5, 1.75)])
EDGES = np.concatenate(
    [[-np.inf], -_MAGNITUDES[:0:-1], [-(2.0**LEAST), 2.0**LEAST], _MAGNITUDES[1:], [np.inf]]
)
"[COUNT + 1], ascending.  A bin holds its edge nearer to zero, but for the bin around zero, which holds neither."


def bin_of(x: Tensor) -> Tensor:
    """The number of each value's bin: float32 of any shape -> int32."""
    bits = x.view(torch.int32)
    magnitude = (bits & 0x7FFFFFFF).bitwise_right_shift_(_MANTISSA_BITS - 2)
    magnitude.sub_(_OFFSET - 1).clamp_(0, _SIDE)  # 0 and below: smaller than LEAST
    sign = bits >> 31  # 0, or -1: then what follows is the negative
    return magnitude.bitwise_xor_(sign).sub_(sign).add_(_SIDE)
