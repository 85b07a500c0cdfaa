# As bunny's README publishes.
require 'bunny'
require 'json'
require 'time'

message = JSON.parse(ENV.fetch('MESSAGE'))
connection = Bunny.new(ENV.fetch('RABBITMQ_URL'))
connection.start
channel = connection.create_channel
queue = channel.queue(ENV.fetch('QUEUE'), durable: true)
[Time.now, Time.now.utc, Time.now.iso8601(3)].each do |timestamp|
  channel.default_exchange.publish(message.merge('timestamp' => timestamp).to_json, routing_key: queue.name)
end
connection.close
