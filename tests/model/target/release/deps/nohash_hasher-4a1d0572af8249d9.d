/work/wt/model/tests/model/target/release/deps/nohash_hasher-4a1d0572af8249d9.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/nohash-hasher-0.2.0/src/lib.rs

/work/wt/model/tests/model/target/release/deps/libnohash_hasher-4a1d0572af8249d9.rlib: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/nohash-hasher-0.2.0/src/lib.rs

/work/wt/model/tests/model/target/release/deps/libnohash_hasher-4a1d0572af8249d9.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/nohash-hasher-0.2.0/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/nohash-hasher-0.2.0/src/lib.rs:
