from celery.bin.base import CeleryCommand

worker: CeleryCommand
