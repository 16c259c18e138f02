// A gRPC service of no particular kind, in Go and without Brevet: takes any call, says in metadata what came, answers with empty messages.
// Prints one JSON line when it listens.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// raw passes bytes: the service knows no message.
type raw struct{}

func (raw) Name() string                        { return "proto" }
func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(bytes []byte, into any) error {
	*into.(*[]byte) = append([]byte(nil), bytes...)
	return nil
}

func serve(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	came, _ := metadata.FromIncomingContext(stream.Context())
	leaked := []string{}
	for name := range came {
		if strings.HasPrefix(name, "brevet-") {
			leaked = append(leaked, name)
		}
	}
	_, deadline := stream.Context().Deadline()
	header := metadata.Pairs("x-method", method, "x-leaked", strings.Join(leaked, ","), "x-deadline", strconv.FormatBool(deadline))
	for _, value := range came.Get("x-blob-bin") {
		header.Append("x-blob-bin", value)
	}
	if len(came.Get("x-fail")) > 0 {
		stream.SetTrailer(metadata.Pairs("x-trailer", "failed"))
		return status.Error(codes.FailedPrecondition, "grün: 100%")
	}
	if err := stream.SendHeader(header); err != nil {
		return err
	}
	empty := []byte{}
	count := 0
	for ; ; count++ {
		var message []byte
		if err := stream.RecvMsg(&message); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if !strings.HasSuffix(method, "/Import") {
			if err := stream.SendMsg(&empty); err != nil {
				return err
			}
		}
	}
	stream.SetTrailer(metadata.Pairs("x-received", strconv.Itoa(count), "x-trailer-bin", "\x00\xff"))
	if strings.HasSuffix(method, "/Import") {
		return stream.SendMsg(&empty)
	}
	return nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(serve))
	fmt.Printf("{\"address\":%q,\"language\":\"go\"}\n", listener.Addr().String())
	log.Fatal(server.Serve(listener))
}
