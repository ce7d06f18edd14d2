"""Networks: Flax NNX modules, and the one adapter that makes their weights leaves of Equinox modules."""

from twinjax.network.adapter import Network as Network
from twinjax.network.fourier import FourierOperator as FourierOperator
from twinjax.network.fourier import fourier_operator as fourier_operator
from twinjax.network.gaussian import GaussianNetwork as GaussianNetwork
from twinjax.network.mlp import Perceptron as Perceptron
from twinjax.network.mlp import perceptron as perceptron
from twinjax.network.pirate import PirateNet as PirateNet
from twinjax.network.pirate import pirate_net as pirate_net
