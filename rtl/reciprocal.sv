/// Scale of a hidden vector from its maximum: the left shift that brings the maximum to 32 significant bits, and
/// floor(127 * 2^24 / top sixteen bits of the shifted maximum), by restoring division, two bits a cycle.
/// `done_o` comes 10 cycles after `start_i`, until when the maximum must stay; the results stay until the next start. A maximum
/// of zero gives zero.
module reciprocal (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        start_i,
    input  logic [31:0] maximum_i,
    output logic        done_o,
    output logic [ 4:0] shift_o,
    output logic [15:0] reciprocal_o
);

  logic [4:0] shift_d, shift_q;
  logic [15:0] divisor_q, quotient_q;
  logic [15:0] remainder_q, remainder_half, remainder_d;
  logic [2:0] count_q;
  logic shifting_q, busy_q, done_q;
  logic high_fits, low_fits;
  logic [31:0] shifted;  // a cycle after the shift is known

  always_comb begin
    shift_d = 5'd31;
    for (int unsigned i = 0; i < 32; i++) begin
      if (maximum_i[i]) shift_d = 5'(31 - i);
    end
    shifted = maximum_i << shift_q;
  end

  // The quotient has 16 bits, and the dividend's low 16 bits are zero: start from its top and find 16 bits.
  assign high_fits = {remainder_q, 1'b0} >= {1'b0, divisor_q};
  assign remainder_half = {remainder_q[14:0], 1'b0} - (high_fits ? divisor_q : 16'd0);
  assign low_fits = {remainder_half, 1'b0} >= {1'b0, divisor_q};
  assign remainder_d = {remainder_half[14:0], 1'b0} - (low_fits ? divisor_q : 16'd0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      shifting_q <= 1'b0;
      busy_q <= 1'b0;
      done_q <= 1'b0;
      count_q <= '0;
      shift_q <= '0;
      divisor_q <= '0;
      quotient_q <= '0;
      remainder_q <= '0;
    end else begin
      done_q <= 1'b0;
      shifting_q <= start_i;
      if (start_i) begin
        shift_q <= shift_d;
      end else if (shifting_q) begin
        busy_q <= 1'b1;
        count_q <= '0;
        divisor_q <= shifted[31:16];
        quotient_q <= '0;
        remainder_q <= 16'(127 << 8);
      end else if (busy_q) begin
        quotient_q <= {quotient_q[13:0], high_fits, low_fits};
        remainder_q <= remainder_d;
        count_q <= count_q + 1'b1;
        if (count_q == 3'd7) begin
          busy_q <= 1'b0;
          done_q <= 1'b1;
          if (divisor_q == '0) quotient_q <= '0;
        end
      end
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!start_i || !(shifting_q || busy_q)) else $error("reciprocal: started while dividing");
      assert (!busy_q || divisor_q == '0 || remainder_q < divisor_q) else $error("reciprocal: a digit of the quotient is not 0 or 1");
    end
  end
`endif

  assign done_o = done_q;
  assign shift_o = shift_q;
  assign reciprocal_o = quotient_q;

endmodule
