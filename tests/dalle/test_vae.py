import pytest
import torch

from dalle.config import VAEConfig
from dalle.vae import DalleVAE, Upsample, build_vae


@pytest.fixture(scope="module")
def vae(tiny_pipeline):
    return tiny_pipeline.vae


def test_shapes_and_ranges(vae):
    x = torch.rand(2, 4, 64, 96) * 2 - 1
    z = vae.to_latents(x)
    assert z.shape == (2, 8, 4, 6)
    y = vae.from_latents(z)
    assert y.shape == x.shape
    assert y.min() >= -1 and y.max() <= 1


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 4, 60, 64), (4, 64, 64)])
def test_wrong_shape_is_named(vae, shape):
    with pytest.raises(ValueError, match="multiples of 16"):
        vae.encode(torch.zeros(shape))


def test_normalisation_is_the_inverse_of_denormalisation(vae):
    with torch.no_grad():
        vae.latent_mean.copy_(torch.arange(8.0))
        vae.latent_std.copy_(torch.arange(1.0, 9.0))
    try:
        z = torch.randn(2, 8, 4, 4)
        torch.testing.assert_close(vae.normalize(vae.denormalize(z)), z)
        raw = vae.denormalize(torch.zeros(1, 8, 1, 1)).flatten()
        torch.testing.assert_close(raw, torch.arange(8.0))
    finally:
        with torch.no_grad():
            vae.latent_mean.zero_()
            vae.latent_std.fill_(1)


def test_latents_do_not_depend_on_what_lies_far_away(vae):
    """Statistics are per position: a change in one corner leaves the opposite corner's latent alone."""
    x = torch.rand(1, 4, 256, 256) * 2 - 1
    y = x.clone()
    y[..., :16, :16] = 1
    a, b = vae.to_latents(x), vae.to_latents(y)
    torch.testing.assert_close(a[..., -1, -1], b[..., -1, -1])
    assert not torch.allclose(a[..., 0, 0], b[..., 0, 0])


def test_new_upsampling_makes_no_checkerboard():
    torch.manual_seed(0)
    y = Upsample(8, 4)(torch.randn(1, 8, 6, 6))
    blocks = y.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert (blocks.std(dim=-1) < 1e-6).all()


def test_save_and_load_are_bit_equal(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    again = DalleVAE.from_pretrained(tmp_path)
    z = torch.randn(1, 8, 4, 4)
    assert torch.equal(vae.from_latents(z), again.from_latents(z))


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    vae = build_vae(VAEConfig((16, 16, 16, 8), (1, 1, 1), (1, 1, 1, 1)))
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    x = torch.rand(1, 4, 32, 32) * 2 - 1
    vae(x, torch.Generator().manual_seed(0)).sample.pow(2).mean().backward()
    missing = [n for n, p in vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
