import numpy as np

from cxrlens.training.films import BatchOrder, CachedBatches, batches


def test_every_film_comes_once_an_epoch_in_a_new_order() -> None:
    order = BatchOrder(10, 4, seed=3)
    epochs = []
    for epoch in range(2):
        order.set_epoch(epoch)
        epochs.append([index for batch in order for index in batch])
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    order.set_epoch(0)
    assert [index for batch in order for index in batch] == epochs[0]


def test_a_last_batch_of_one_is_left_out_of_training_only() -> None:
    assert [len(batch) for batch in BatchOrder(9, 4, seed=0)] == [4, 4]
    assert [len(batch) for batch in BatchOrder(9, 4, seed=None)] == [4, 4, 1]
    assert len(BatchOrder(9, 4, seed=0)) == 2


def test_batches_hold_the_right_films_and_labels() -> None:
    pixels = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 2), np.uint8)
    rows, labels = np.array([4, 2, 0]), np.array([0, 1, 2])
    films, answers, prior, guided = next(iter(batches(CachedBatches(pixels, rows, labels), 8)))
    assert films[:, 0, 0].tolist() == [4, 2, 0]
    assert films.shape == (3, 2, 2)
    assert answers.tolist() == [0, 1, 2]
    assert prior is None
    assert guided is None
