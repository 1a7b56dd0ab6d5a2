# Trains a while, evaluates what was saved, trains on from there: three rounds. Each round needs the one
# before, and what is done is not done again: the same line goes on after an interruption.
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

# So many steps more when the last round has completed; else this starts the run, or takes the steps that
# were left. A run that was asked to stop has not completed, and --wait fails.
$(RUN).trained-%:
	if run-status --status completed $(RUN) >/dev/null; \
	then run-exec --quiet --resume --additional-steps $(STEPS) $(RUN); \
	else run-exec --quiet --unfinished $(RUN); fi
	run-status --wait $(RUN)
	touch $@

$(RUN).evaluated-%: $(RUN).trained-%
	run-eval --timeout 10m $(RUN) -- python3 $(examples)eval.py {checkpoint}
	touch $@
