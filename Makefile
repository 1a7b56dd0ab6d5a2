# make          build the tools
# make demo     build, and train a small network with them
# make test     set up what the tests need, and run all of them
# make soak     the campaigns of the tests in full: hundreds of random kills
# make lint     what CI checks beside the tests; installs nothing
# make bench    measure beside the peers; results go to bench/results
# make install  install what is built: PREFIX=/usr/local DESTDIR=
# make wheel    a wheel with the tools and manuals, for pip: in target/dist
# make deb      a Debian package: in target/dist

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

# The tools are linked statically where the system's C library is glibc: they start faster, and one copy serves
# all nodes of a cluster. The flag is for the tools alone, hence the explicit target.
TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
ifeq (,$(TARGET))
# Without Rust, as under sudo: what was built before.
BIN := $(firstword $(patsubst %/run-exec,%,$(wildcard target/*/release/run-exec)) target/release)
else
BIN := target/$(TARGET)/release
export CARGO_BUILD_TARGET := $(TARGET)
endif
ifneq (,$(findstring -gnu,$(TARGET)))
STATIC := RUSTFLAGS="$(RUSTFLAGS) -C target-feature=+crt-static"
endif
CAMPAIGNS := crash controllers misplaced runs sweep control slurm waiting_runs \
	alike clean_killed clean_requests hostile interrupted killed remote requests writers
TOOLS := run-new run-exec run-status run-stop run-eval run-report run-sync
MAN1 := $(TOOLS:%=man/%.1)
MAN5 := man/run-dir.5 man/run-store.5
MAN7 := man/run-tools.7 man/run-launch.7

.PHONY: all demo test soak lint bench install wheel deb setup clean

all:
	$(STATIC) $(CARGO) build --release --locked $(TOOLS:%=-p %) -p run-launch

demo: all
	RUN_BIN=$(CURDIR)/$(BIN) examples/demo

# The tests drive the release binaries; they themselves are built without optimization, in a tenth of the time. Most of
# them wait for processes most of the time: twice as many run as there are cores.
test: setup all
	RUN_BIN=$(CURDIR)/$(BIN) RUST_TEST_THREADS=$$(($$(nproc) * 2)) env --default-signal $(CARGO) test --locked --workspace

# The names choose modules of tests in any of the test programs.
soak: setup all
	RUN_BIN=$(CURDIR)/$(BIN) RUN_SOAK=1 env --default-signal $(CARGO) test --locked -p testkit --tests -- --nocapture --test-threads=1 \
		$(CAMPAIGNS:%=%::)

lint:
	@tests/setup --check mandoc shellcheck
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	mandoc -T lint -W warning $(MAN1) $(MAN5) $(MAN7)
	shellcheck examples/demo examples/loop examples/check-launcher examples/run-launch-ssh examples/run-launch-kubernetes tests/setup tests/fixtures/0.1/make packaging/tree packaging/deb .ci/run
	shellcheck --shell=bash common/complete/src/shells/bash

bench: all
	bench/run --bin $(BIN)

# Installs Debian packages that are missing; without the right to, it says which.
setup:
	tests/setup

# Installs what is built, and builds nothing: sudo has no cargo on its PATH.
install:
	packaging/tree '$(BIN)' '$(DESTDIR)$(PREFIX)'

wheel: all
	packaging/wheel '$(BIN)' target/dist

deb: all
	packaging/deb '$(BIN)' target/dist

clean:
	$(CARGO) clean
