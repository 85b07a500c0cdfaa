"""What happens to RabbitMQ, and on the way to it."""

from __future__ import annotations

from tests.faults.scene import Scene, fault, pause


@fault("RabbitMQ is stopped and started", quick=True)
def broker_restarted(scene: Scene) -> None:
    scene.world.rabbitmq.stop()
    pause(2)
    scene.world.rabbitmq.start()
