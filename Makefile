# make          build the tools
# make demo     build, and train a small network with them
# make test     set up what the tests need, and run all of them
# make soak     the campaigns of the tests in full: hundreds of random kills
# make lint     what CI checks beside the tests; installs nothing
# make bench    measure beside the peers; results go to bench/results
# make install  PREFIX=/usr/local DESTDIR=

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

# The tools are linked statically where the system's C library is glibc: they start faster, and one copy serves
# all nodes of a cluster. The flag is for the tools alone, hence the explicit target.
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
BIN := target/$(TARGET)/release
export CARGO_BUILD_TARGET := $(TARGET)
ifneq (,$(findstring -gnu,$(TARGET)))
export RUSTFLAGS += -C target-feature=+crt-static
endif
TOOLS := run-new run-exec run-status run-stop run-eval run-report run-sync
MAN1 := $(TOOLS:%=man/%.1)
MAN5 := man/run-dir.5 man/run-store.5
MAN7 := man/run-tools.7 man/run-launch.7

.PHONY: all demo test soak lint bench install setup clean

all:
	$(CARGO) build --release --locked $(TOOLS:%=-p %) -p run-launch

demo: all
	RUN_BIN=$(CURDIR)/$(BIN) examples/demo

test: setup all
	RUN_BIN=$(CURDIR)/$(BIN) env --default-signal $(CARGO) test --release --locked --workspace

soak: setup all
	RUN_BIN=$(CURDIR)/$(BIN) RUN_SOAK=1 env --default-signal $(CARGO) test --release --locked -p testkit --test crash --test controllers --test eval_control --test sweep --test new --test misplaced \
		--test sync_killed --test sync_writers --test slurm --test waiting_runs --test sync_clean_killed --test sync_interrupted --test sync_requests --test sync_clean_requests \
		--test sync_remote -- --nocapture --test-threads=1

lint:
	@tests/setup --check mandoc shellcheck
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	mandoc -T lint -W warning $(MAN1) $(MAN5) $(MAN7)
	shellcheck examples/demo examples/loop examples/check-launcher examples/run-launch-ssh examples/run-launch-kubernetes tests/setup tests/fixtures/0.1/make .ci/run

bench: all
	bench/run --bin $(BIN)

# Installs Debian packages that are missing; without the right to, it says which.
setup:
	tests/setup

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man7
	install $(TOOLS:%=$(BIN)/%) $(BIN)/run-launch-slurm $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(MAN1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(MAN5) $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 $(MAN7) $(DESTDIR)$(PREFIX)/share/man/man7
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	for tool in $(TOOLS); do \
		$(BIN)/$$tool --generate-completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool && \
		$(BIN)/$$tool --generate-completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$tool && \
		$(BIN)/$$tool --generate-completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$tool.fish || exit 1; \
	done

clean:
	$(CARGO) clean
