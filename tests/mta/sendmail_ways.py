"""Sendmail: every way in, while danelawd is well, killed, stopped or blind: nothing leaks, nothing is lost."""

import concurrent.futures

import letters
from sendmail import QUEUE


def settle(lab, sent, seconds=60):
    """As letters.settle, but Sendmail puts mail aside without a word where a look-up fails at reception."""
    left = letters.settle(lab, sent, 2)
    for _ in range(2):                  # from the submission queue to the MTA's, and on
        ids = {i for letter in left for i in lab.mta.log.queue_ids(letter.number)}
        with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(lambda item: push(lab, *item), lab.mta.resting(ids).items()))
        left = letters.settle(lab, left, 1)
    for letter in left:
        if lab.mta.resting(lab.mta.log.queue_ids(letter.number)):
            letter.silent = "held"
    return letters.settle(lab, left, seconds)


def push(lab, queue_id, directory):
    """Once more, now."""
    run = lab.mta.flush if directory == QUEUE else lab.mta.flush_client
    run("-qI" + queue_id)
