"""The ranker: vectors, scores, order."""

import torch

from dalle.ranking import Ranker, best_first, ranker_input
from dalle.text import TextFeatures
from tests.dalle.test_sampling import features


def test_vectors_have_unit_length_and_padding_says_nothing(tiny_pipeline):
    ranker = tiny_pipeline.ranker
    text = features(3, 6)
    longer = TextFeatures.stack([text, features(1, 11, seed=4)])[0:3]
    assert longer.tokens.shape[1] == 11
    with torch.no_grad():
        found = ranker.texts(text)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
        torch.testing.assert_close(ranker.texts(longer), found, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(ranker.texts(features(3, 6, seed=2)), found, atol=1e-3)
        pictures = ranker.pictures(torch.rand(2, 4, 256, 256) * 2 - 1)
        torch.testing.assert_close(pictures.norm(dim=1), torch.ones(2))


def test_a_batch_of_pictures_is_the_pictures_alone(tiny_pipeline):
    pixels, text = torch.rand(3, 4, 256, 256) * 2 - 1, features(3, 5)
    together = tiny_pipeline.ranker.agreement(pixels, text)
    for row in range(3):
        alone = tiny_pipeline.ranker.agreement(pixels[row : row + 1], text[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)
    assert ((together > 0) & (together < 1)).all()
    assert tiny_pipeline.ranker.agreement(pixels, text[0:1]).shape == (3,)


def test_a_higher_cosine_is_a_higher_score(tiny_pipeline):
    scores = tiny_pipeline.ranker.score(torch.tensor([-1.0, 0.0, 0.5, 1.0]))
    assert (scores[1:] > scores[:-1]).all()


def test_pictures_are_averaged_to_the_input_s_size():
    pixels = torch.zeros(1, 4, 256, 256)
    pixels[..., :2, :4] = 1
    small = ranker_input(pixels)
    assert small.shape == (1, 4, 64, 64)
    assert small[0, 0, 0, 0] == 0.5 and small[0, 0].sum() == 0.5


def test_best_first_keeps_the_order_of_equals():
    assert best_first([0.2, 0.9, 0.2, 0.5]) == [1, 3, 0, 2]


def test_the_default_size_fits_its_place_in_a_checkpoint():
    assert sum(p.numel() for p in Ranker().parameters()) * 2 < 8 * 2**20
