"""Names of the arrays that every codec passes on; 'b' is the batch."""

from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int

Waveform = Float[Array, 'b samples']
Codes = Int[Array, 'b frames levels']
Latents = Float[Array, 'b frames dim']
Steps = Float[Array, 'b steps channels']  # At any rate inside a network.
