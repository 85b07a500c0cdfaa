<?php
// As php-amqplib's README publishes.
require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;

$url = parse_url(getenv('RABBITMQ_URL'));
$connection = new AMQPStreamConnection($url['host'], $url['port'], $url['user'], $url['pass']);
$channel = $connection->channel();
$channel->queue_declare(getenv('QUEUE'), false, true, false, false);
$now = new DateTime();
foreach ([$now, $now->format(DATE_ATOM), $now->format(DATE_RFC2822), time()] as $timestamp) {
    $message = ['timestamp' => $timestamp, 'options' => []] + json_decode(getenv('MESSAGE'), true);
    $channel->basic_publish(new AMQPMessage(json_encode($message)), '', getenv('QUEUE'));
}
$channel->close();
$connection->close();
