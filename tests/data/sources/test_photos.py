from wae_jax.data import DecodedRecords, decode, make_eval_loader, make_transform, open_source


def test_photos():
    train = open_source("foolbox_photos", "train")
    assert len(train) == train.info.num_examples == 20
    assert train.info.num_classes == len(train.info.class_names) == 1000
    assert train.info.image_shape is None
    records = train.read(range(20))
    assert {label for _, label in records} >= {22, 243, 609, 990}
    assert train.info.class_names[243] == "n02108422"  # bull mastiff
    for data, _ in records:
        assert data[:3] == b"\xff\xd8\xff"
        assert min(decode(data).shape[:2]) > 224
    assert sorted(open_source("foolbox_photos", "validation").read(range(20))) == sorted(records)


def test_photos_at_224_pixels():
    source = open_source("foolbox_photos", "validation")
    loader = make_eval_loader(
        DecodedRecords(source), make_transform("imagenet", 224, False), batch_size=8
    )
    batches = list(loader)
    assert [int(batch["mask"].sum()) for batch in batches] == [8, 8, 4]
    assert all(batch["image"].shape == (8, 224, 224, 3) for batch in batches)
    assert batches[0]["image"].std() > 30
