# Trains and evaluates in turns, three rounds. Each round depends on the one before, and nothing is done
# twice: the same line continues after an interruption.
#
#   make -f examples/loop.mk            STEPS=200 a round, of the run RUN=loop

.DELETE_ON_ERROR:

RUN ?= loop
STEPS ?= 200
export RUNS_DIR := runs
examples := $(dir $(lastword $(MAKEFILE_LIST)))

$(RUN).csv: $(RUN).evaluated-3
	run-report --evals $(RUN) >$@

$(RUN).trained-1: | runs/$(RUN)
$(RUN).trained-2: $(RUN).evaluated-1
$(RUN).trained-3: $(RUN).evaluated-2

runs/$(RUN):
	run-new -n $(RUN) --total-steps $(STEPS) $(examples)digits.json -- \
	    python3 $(examples)train.py --config {config}

# Trains for STEPS more steps if the last round has completed; otherwise starts the run, or trains for the
# remaining steps. A run that was asked to stop has not completed, and --wait fails.
$(RUN).trained-%:
	if run-status --status completed $(RUN) >/dev/null; \
	then run-exec --quiet --resume --additional-steps $(STEPS) $(RUN); \
	else run-exec --quiet --unfinished $(RUN); fi
	run-status --wait $(RUN)
	touch $@

$(RUN).evaluated-%: $(RUN).trained-%
	run-eval --timeout 10m $(RUN) -- python3 $(examples)eval.py {checkpoint}
	touch $@
