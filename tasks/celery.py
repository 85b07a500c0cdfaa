"""The Celery applications, made from the environment: `celery -A tasks.celery:app …` and `…:status_app …`.

Two of them, because the worker bound to the external service's queue knows one task only: whatever a message there
claims to be, nothing else could be run.

They are no more than settings until a worker starts, which then gets the Flask application and its tasks
(`tasks/worker_setup.py`): beat and Flower use neither.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from app import jobs, logs
from app.config import Settings
from app.outbound import broker
from tasks import beat_schedule
from tasks.flask_context import STATUS_APP_NAME, FlaskContextTask


def _common_worker_settings(settings: Settings) -> dict[str, Any]:
    """Return what every worker needs to outlive its broker; each line has its reason in docs/decisions/0006."""
    return {
        "broker_url": settings.rabbitmq_url,
        "broker_use_ssl": broker.broker_tls_options(settings.rabbitmq_url),
        "broker_heartbeat": 6,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 4,
        "broker_pool_acquire_timeout": 5,
        # A channel that the broker closes costs the channel, not the process.
        "broker_channel_error_retry": True,
        "broker_transport_options": broker.consumer_transport_options(settings.rabbitmq_url),
        # Whoever may publish to the broker's default exchange, as the external service must, could command a worker
        # through its control queue: docs/decisions/0033.
        "worker_enable_remote_control": False,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_send_task_events": True,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_enable_prefetch_count_reduction": False,
        "worker_prefetch_multiplier": 2,
        "worker_soft_shutdown_timeout": 20,
        "worker_enable_soft_shutdown_on_idle": True,
        "rita_heartbeat_file": settings.heartbeat_file,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
    }


def create_celery_app(settings: Settings) -> Celery:
    """Make the application that delivers webhooks and keeps house; beat and Flower use it too."""
    made = Celery("rita", task_cls=FlaskContextTask, set_as_current=False)
    made.conf.update(
        _common_worker_settings(settings),
        task_queues=jobs.task_queues(),
        task_default_queue="webhooks",
        task_default_exchange="rita",
        worker_consumer="tasks.worker_pools:WebhookConsumer",
        task_soft_time_limit=120,
        task_time_limit=150,
        beat_schedule=beat_schedule.build_beat_schedule(settings),
        # The schedule is in the code and what is due is in PostgreSQL: beat has nothing to remember on a disk.
        beat_scheduler="tasks.beat_schedule:MonotonicScheduler",
        beat_max_loop_interval=5,
    )
    return made


def create_status_celery_app(settings: Settings) -> Celery:
    """Make the application that is bound to the external service's queues."""
    made = Celery(STATUS_APP_NAME, task_cls=FlaskContextTask, set_as_current=False)
    made.conf.update(
        _common_worker_settings(settings),
        # Which it must neither redeclare nor bind to an exchange.
        task_queues=[broker.undeclared_queue(name) for name in settings.status_queues],
        task_default_queue=settings.status_queues[0],
        task_default_exchange="",
        worker_consumer="tasks.consumer:StatusConsumer",
        # For the consumer, which has no other way to the settings.
        rita_status_retry_schedule=[wait.total_seconds() for wait in settings.status_retry_seconds],
        rita_status_max_hold_seconds=settings.status_hold_seconds.total_seconds(),
        task_soft_time_limit=120,
        task_time_limit=150,
        # A batch that fails was not applied: it is held and tried again, see the consumer.
        task_acks_on_failure=False,
        task_acks_on_timeout=False,
    )
    return made


def _configure_logging(**_: Any) -> None:
    logs.configure_logging(settings.log_level)


def _set_up_worker(instance: Any, **_: Any) -> None:
    from tasks import worker_setup  # noqa: PLC0415 - not in beat and Flower

    worker_setup.set_up_worker(instance.app)


def _confirm_beat_publishes(sender: Any, **_: Any) -> None:
    """Have beat wait for the broker's word: its connection may die unnoticed, and nothing else would tell it."""
    sender.app.conf.broker_transport_options = broker.confirmed_transport_options(settings.rabbitmq_url)


# What both workers, beat and Flower use; a worker reads what else it uses when it starts to work.
settings = Settings.from_environment("beat")
app = create_celery_app(settings)
status_app = create_status_celery_app(settings)
# weak=False: the signals hold their receivers, which nothing else does.
signals.setup_logging.connect(_configure_logging, weak=False)
signals.celeryd_init.connect(_set_up_worker, weak=False)
signals.beat_init.connect(_confirm_beat_publishes, weak=False)
