// As the tutorial of amqp091-go publishes.
package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	var message map[string]any
	check(json.Unmarshal([]byte(os.Getenv("MESSAGE")), &message))
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	check(err)
	defer connection.Close()
	channel, err := connection.Channel()
	check(err)
	queue, err := channel.QueueDeclare(os.Getenv("QUEUE"), true, false, false, false, nil)
	check(err)
	// Without an id, as a struct's field of type uuid.UUID says it.
	message["operation_id"] = "00000000-0000-0000-0000-000000000000"
	for _, timestamp := range []any{time.Now(), time.Now().String(), time.Now().UnixNano()} {
		message["timestamp"] = timestamp
		body, err := json.Marshal(message)
		check(err)
		publishing := amqp.Publishing{ContentType: "application/json", Body: body}
		check(channel.PublishWithContext(context.Background(), "", queue.Name, false, false, publishing))
	}
}
