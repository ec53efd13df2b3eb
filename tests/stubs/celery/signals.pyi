from celery.utils.dispatch.signal import Signal

after_setup_logger: Signal
after_setup_task_logger: Signal
task_failure: Signal
task_postrun: Signal
task_prerun: Signal
task_retry: Signal
task_success: Signal
worker_process_init: Signal
worker_process_shutdown: Signal
worker_shutdown: Signal
worker_shutting_down: Signal
