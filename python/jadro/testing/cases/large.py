"""Problems large enough for several threads each, in every direction in which the work can be split."""

from jadro.testing.cases.activation import ActivationCase, PReluCase
from jadro.testing.cases.avg_pool import AvgPoolCase
from jadro.testing.cases.base import Case
from jadro.testing.cases.batch_norm import BatchNormCase
from jadro.testing.cases.conv2d import Conv2dCase, ConvTransposeCase
from jadro.testing.cases.cross_entropy import CrossEntropyCase
from jadro.testing.cases.dropout import DropoutCase, UniformCase
from jadro.testing.cases.embedding import EmbeddingCase
from jadro.testing.cases.gemm import GemmCase
from jadro.testing.cases.group_norm import GroupNormCase
from jadro.testing.cases.optim import AdamCase
from jadro.testing.cases.pool2d import MaxPool2dCase, MaxUnpool2dCase
from jadro.testing.cases.rnn import RnnCase

SAME = (1, 1, 1, 1)
LARGE: list[Case] = [
    GemmCase("square", 250, 260, 270, bias=True),
    GemmCase("deep", 40, 50, 3000),
    GemmCase("tall", 1500, 20, 30, trans_a=True),
    GemmCase("wide", 20, 1500, 30, trans_b=True, accumulate=True),
    Conv2dCase("batch", 9, 8, (14, 15), 16, (3, 3), padding=SAME),
    Conv2dCase("one_image", 1, 16, (40, 40), 32, (3, 3), padding=SAME),
    Conv2dCase("many_channels", 2, 130, (6, 7), 70, (3, 3), padding=SAME),
    Conv2dCase("past_the_caches", 2, 2, (114, 114), 88, (3, 3)),
    Conv2dCase("dilated", 3, 16, (200, 201), 16, (3, 3), padding=(2,) * 4, dilation=(2, 2)),
    Conv2dCase("depthwise", 3, 40, (20, 21), 40, (3, 3), padding=SAME, groups=40),
    Conv2dCase("volume", 2, 12, (9, 14, 15), 16, (3, 3, 3), padding=(1,) * 6),
    Conv2dCase("volume_depthwise", 2, 16, (6, 14, 15), 16, (3, 3, 3), (2, 2, 1), (1,) * 6, groups=16),
    Conv2dCase("circular", 5, 20, (14, 15), 24, (3, 3), padding=SAME, padding_mode="circular"),
    ConvTransposeCase("transposed", 4, 20, (13, 14), 24, (4, 4), (2, 2), SAME),
    Conv2dCase("few_channels", 4, 3, (32, 32), 16, (5, 5), stride=(2, 2), padding=(2, 2, 2, 2)),
    MaxPool2dCase("planes", 8, 16, (24, 25), (3, 3), (2, 2), SAME),
    MaxPool2dCase("one_plane", 1, 1, (200, 210), (2, 2), (2, 2)),
    MaxUnpool2dCase("volume", 4, 8, (7, 13, 24), (3, 3, 3), (2, 2, 2), (*SAME, 1, 1)),
    MaxUnpool2dCase("global", 8, 32, (25, 26), bins=(1, 1)),
    AvgPoolCase("planes", 8, 16, (24, 25), (3, 3), (2, 2), SAME),
    AvgPoolCase("one_plane", 1, 1, (200, 210), (2, 2), (2, 2)),
    AvgPoolCase("global", 8, 32, (25, 26), bins=(1, 1)),
    RnnCase("batch", "lstm", 5, 40, 30, 50, layers=2, directions=2),
    RnnCase("few_rows", "lstm", 6, 2, 70, 130, layers=2),
    RnnCase("batch", "gru", 5, 40, 30, 50, layers=2, directions=2),
    RnnCase("few_rows", "gru", 6, 2, 70, 130, directions=2),
    RnnCase("weights_beyond_the_caches", "lstm", 2, 5, 8, 600),
    RnnCase("weights_beyond_the_caches", "gru", 2, 16, 8, 700),
    RnnCase("gates_beyond_the_first_cache", "lstm", 2, 40, 8, 300),
    RnnCase("batch", "rnn_tanh", 5, 40, 30, 50, layers=2, dropout=0.5),
    RnnCase("few_rows", "rnn_relu", 6, 3, 70, 200, layers=2),
    BatchNormCase("images", 16, 20, 300),
    BatchNormCase("rows", 3000, 9, 1),
    BatchNormCase("add_relu", 16, 20, 300, add=True, relu=True),
    GroupNormCase("images", 16, 20, 300, 4),
    GroupNormCase("layers", 700, 130, 1, 1),
    ActivationCase("large", "tanh", (100003,)),
    ActivationCase("large", "gelu", (100003,)),
    PReluCase("images", 16, 20, 300),
    PReluCase("one_slope", 1, 1, 200003),
    CrossEntropyCase("large", 700, 90, weighted=True, label_smoothing=0.1),
    EmbeddingCase("large", 300, 64, 3000),
    DropoutCase("large", (200003,)),
    UniformCase("large", 200003),
    AdamCase("large", (100003, 7, 50000)),
]
