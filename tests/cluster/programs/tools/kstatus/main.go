// Command kstatus reads one Kubernetes object as JSON on stdin and prints what kstatus, the library that Argo CD, Flux
// and kpt judge objects by, says of it: the status (Current, InProgress, Failed, Terminating, ...), a tab, the message.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "kstatus: %v; give it one object: kubectl get KIND NAME -o json | kstatus\n", err)
		os.Exit(1)
	}
}

func run(input io.Reader, output io.Writer) error {
	document, err := io.ReadAll(input)
	if err != nil {
		return fmt.Errorf("reading stdin: %w", err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(document); err != nil {
		return fmt.Errorf("stdin is not a Kubernetes object: %w", err)
	}
	if object.IsList() {
		return fmt.Errorf("stdin is a list of kind %s", object.GetKind())
	}
	result, err := status.Compute(object)
	if err != nil {
		return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	_, err = fmt.Fprintf(output, "%s\t%s\n", result.Status, strings.ReplaceAll(result.Message, "\n", " "))
	return err
}
