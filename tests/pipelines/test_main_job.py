def test_x(small_shop):
    for n, r in small_shop.runs.items():
        print(n, r.code, r.out[-2500:])
