"""Submits an array of held jobs with submitit, as its manual shows: COUNT DIRECTORY."""

import sys

import submitit


def work(number):
    """What a job would do."""
    return number


count, directory = int(sys.argv[1]), sys.argv[2]
executor = submitit.AutoExecutor(folder=f"{directory}/%j", cluster="slurm")
executor.update_parameters(timeout_min=5, slurm_array_parallelism=count, slurm_additional_parameters={"hold": True})
jobs = executor.map_array(work, range(count))
assert len(jobs) == count
