"""The installed JAX must multiply correctly: jaxlib 0.10.2 on CPU does not (jax issue 39103)."""

import jax
import jax.numpy as jnp
import numpy as np


def test_fused_dot_square_reduce_is_right():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(32_769, 3)).astype(np.float32), rng.normal(size=(3, 8)).astype(np.float32)
    ours = jax.jit(lambda x, w: jnp.sum(jnp.square(jnp.dot(x, w)), axis=-1))(x, w)
    np.testing.assert_allclose(
        ours, np.square(x @ w).sum(-1), rtol=1e-4, err_msg="this jaxlib miscomputes; install one that pyproject allows"
    )
